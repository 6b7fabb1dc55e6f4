local limit <const> = 5 -- fault: E019 lint
return limit
