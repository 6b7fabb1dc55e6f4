-- args: a:str
return ARGV[1] .. ARGV[2] -- fault: E017
