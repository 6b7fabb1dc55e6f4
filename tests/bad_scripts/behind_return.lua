return 1 local x -- fault: E019 lint
