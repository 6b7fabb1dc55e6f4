-- keys: a
return server.call('GET', KEYS[1]) -- fault: W016 lint
