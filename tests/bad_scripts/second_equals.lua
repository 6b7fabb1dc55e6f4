local x = 1
if x = 1 then -- fault: E019 lint
  return x
end
