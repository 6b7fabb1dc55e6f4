-- Whose flag Redis does not see. (fault: W015)
-- flags: allow-oom
return 1
