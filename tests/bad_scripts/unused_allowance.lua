-- Whose name holds no key. (fault: W013)
-- undeclared: wake
local wake = 1
return wake
