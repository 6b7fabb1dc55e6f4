return os.clock() -- fault: W016 lint
