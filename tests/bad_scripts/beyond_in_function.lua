-- args: a:str
local function second(words)
  return words[2] -- fault: E017 lint
end
return ARGV[1] .. second(ARGV)
