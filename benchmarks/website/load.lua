-- For wrk: 3,000 clients in turns, or one; what it measured in one line of figures.
local requests, turn = {}, 0

function init(args)
  local clients = tonumber(args[1])
  for i = 1, clients do
    requests[i] = wrk.format(nil, nil, { ['X-Client'] = 'client' .. i })
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('FIGURES %d %d %d %d %d %d\n', summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
