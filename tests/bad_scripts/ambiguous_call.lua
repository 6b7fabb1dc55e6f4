local name = tostring
(string or name)(1) -- fault: E019 lint
