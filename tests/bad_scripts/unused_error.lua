-- Whose error is never returned. (fault: W013)
-- errors: GONE
return 1
