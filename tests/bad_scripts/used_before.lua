local function first() return second() end -- fault: E020 lint
local function second() return 2 end
return first() + second()
