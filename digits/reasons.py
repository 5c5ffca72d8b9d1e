"""Why an image, or a mark on a page, has no digit."""

BLANK, SEVERAL_DIGITS, NOT_A_DIGIT, UNCERTAIN = "blank", "several digits", "not a digit", "uncertain"
