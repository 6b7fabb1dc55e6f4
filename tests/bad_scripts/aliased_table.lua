local text = string
return text.trim(' a ') -- fault: E020 lint
