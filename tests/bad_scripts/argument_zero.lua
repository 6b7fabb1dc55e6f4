-- args: *a:str
return ARGV[0] .. ARGV[1] -- fault: E017
