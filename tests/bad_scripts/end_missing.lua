if true then
  return 1
-- fault: E019 lint (where Lua gives up: the last line)