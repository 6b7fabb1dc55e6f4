return 7 // 2 -- fault: E019 lint
