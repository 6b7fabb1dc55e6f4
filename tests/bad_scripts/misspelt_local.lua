local current = 1
return curent -- fault: E020 lint
