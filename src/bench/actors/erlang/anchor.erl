%% The workloads of `voltree bench actors` on Erlang/OTP: anchor:main([Test]) prints erlang,Test,Figure,Value.
%% Workers are gen_servers under one simple_one_for_one supervisor; see the Rust side for what is measured.
-module(anchor).
-export([main/1]).
now_() -> erlang:monotonic_time(nanosecond).
out(T, K, V) -> io:format("erlang,~s,~s,~.3f~n", [T, K, float(V)]).
rss() -> {ok, B} = file:read_file("/proc/self/status"), {match, [X]} = re:run(B, "VmRSS:\\s+(\\d+)", [{capture, all_but_first, list}]), list_to_integer(X) * 1024.
cpu() -> {ok, B} = file:read_file("/proc/self/stat"), [_, R] = string:split(B, ") ", trailing), L = string:lexemes(binary_to_list(R), " "), (list_to_integer(lists:nth(12, L)) + list_to_integer(lists:nth(13, L))) / 100.
wait(C, Ix, N) -> case counters:get(C, Ix) of X when X >= N -> ok; _ -> timer:sleep(1), wait(C, Ix, N) end.
tele(I) -> X = float(I), {X, X+1.0, X+2.0, X+3.0, X+4.0, X+5.0, X+6.0, X+7.0}.
main([Test]) ->
  logger:set_primary_config(level, none),
  N = case Test of "one" -> 1; "ask1" -> 1; "many" -> 1000; "askn" -> 1000; _ -> 100000 end,
  K = atomics:new(N, []), L = atomics:new(N, []), C = counters:new(4, []),
  persistent_term:put(anchor, {K, L, C}),
  {ok, _} = anchor_sup:start_link(), erlang:garbage_collect(),
  R0 = rss(), C0 = cpu(), T0 = now_(),
  Pids = list_to_tuple([begin {ok, P} = supervisor:start_child(anchor_sup, [I]), P end || I <- lists:seq(1, N)]),
  Dt = now_() - T0,
  case Test of "spawn" ->
      out(Test, "ms_total", Dt/1.0e6), out(Test, "cpu_s", cpu()-C0),
      erlang:garbage_collect(whereis(anchor_sup)), erlang:garbage_collect(), timer:sleep(300), out(Test, "rss_bytes_per_worker", (rss()-R0)/N),
      out(Test, "proc_memory_bytes", element(2, erlang:process_info(element(1,Pids), memory))),
      [gen_server:cast(P, {tele, tele(1)}) || P <- tuple_to_list(Pids)], [gen_server:call(P, ask) || P <- tuple_to_list(Pids)],
      out(Test, "rss_bytes_per_worker_after_1msg", (rss()-R0)/N);
    _ -> timer:sleep(200), run(Test, N, Pids, K, L, C) end,
  halt(0).
par(N, F) -> Me = self(), [spawn_link(fun() -> F(I), Me ! done end) || I <- lists:seq(1, N)], [receive done -> ok end || _ <- lists:seq(1, N)], ok.
casts(_, 0) -> ok;
casts(P, I) -> gen_server:cast(P, {tele, tele(I)}), casts(P, I-1).
calls(_, 0) -> ok;
calls(P, I) -> gen_server:call(P, ask, infinity), calls(P, I-1).
run(T, N, Pids, _, _, _) when T =:= "one"; T =:= "many" -> Total = 2000000, Per = Total div N, C0 = cpu(), T0 = now_(),
  par(N, fun(I) -> P = element(I, Pids), casts(P, Per), Per = gen_server:call(P, ask, infinity) end),
  Dt = (now_()-T0)/1.0e9, out(T, "msgs_per_s", Total/Dt), out(T, "cpu_us_per_msg", (cpu()-C0)*1.0e6/Total);
run(T, N, Pids, _, _, _) when T =:= "ask1"; T =:= "askn" -> Total = case N of 1 -> 200000; _ -> 1000000 end, Per = Total div N, C0 = cpu(), T0 = now_(),
  par(N, fun(I) -> calls(element(I, Pids), Per) end),
  Dt = (now_()-T0)/1.0e9, out(T, "asks_per_s", Total/Dt), out(T, "cpu_us_per_ask", (cpu()-C0)*1.0e6/Total);
run(T, N, Pids, K, L, C) -> {Nk, Mode, Paced} = case T of "fault" -> {1000, crash, true}; "faultkill" -> {1000, kill, true}; "storm" -> {10000, crash, false}; "stormkill" -> {10000, kill, false} end,
  Ids = lists:sublist([I || {_, I} <- lists:sort([{rand:uniform(), I} || I <- lists:seq(1, N)])], Nk), erlang:garbage_collect(),
  C0 = cpu(), T0 = now_(),
  spawn(fun() -> [begin P = element(I, Pids), atomics:put(K, I, now_()), case Mode of kill -> exit(P, kill); crash -> gen_server:cast(P, die) end, Paced andalso timer:sleep(1) end || I <- Ids] end),
  wait(C, 2, Nk), Dt = (now_()-T0)/1.0e6,
  Lat = lists:sort([atomics:get(L, I) || I <- Ids]),
  out(T, "restarted", counters:get(C, 2)), out(T, "p50_us", lists:nth(Nk div 2, Lat)/1000), out(T, "p99_us", lists:nth(Nk*99 div 100, Lat)/1000), out(T, "total_ms", Dt), out(T, "cpu_us_per_restart", (cpu()-C0)*1.0e6/Nk).
