print('here') -- fault: W016 lint
