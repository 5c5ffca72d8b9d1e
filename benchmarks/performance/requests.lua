-- For wrk: sends the requests in the files DIRECTORY/1, DIRECTORY/2, ... in rotation and prints the result as JSON.
-- Usage: `wrk --script requests.lua URL -- DIRECTORY`.

local requests, turn = {}, 0

function init(arguments)
  for number = 1, math.huge do
    local file = io.open(arguments[1] .. "/" .. number, "rb")
    if not file then break end
    requests[number] = file:read("*a")
    file:close()
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "failed": %d, "seconds": %f, "p50": %f, "p99": %f}\n',
    summary.requests,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    summary.duration / 1e6,
    latency:percentile(50) / 1e6,
    latency:percentile(99) / 1e6
  ))
end
