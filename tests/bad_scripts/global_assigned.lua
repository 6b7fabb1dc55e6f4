counter = 1 -- fault: E020 lint
return counter
