-- args: a:int
if ARGV[1] > 5 then return 1 end -- fault: W017 lint
