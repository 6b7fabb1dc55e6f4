do
  local inner = 1
  inner = 2
end
return inner -- fault: E020 lint
