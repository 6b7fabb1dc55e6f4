return _G.missing -- fault: E020 lint
