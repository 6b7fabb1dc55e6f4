local hits = 0
hits += 1 -- fault: E019 lint
return hits
