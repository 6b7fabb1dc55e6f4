redis.calls = 1 -- fault: E020 lint
