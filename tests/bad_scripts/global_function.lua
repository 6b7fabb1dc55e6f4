function double(x) -- fault: E020 lint
  return 2 * x
end
return double(2)
