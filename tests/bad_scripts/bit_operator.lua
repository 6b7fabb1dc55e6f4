local mask = 5 & 3 -- fault: E019 lint
return mask
