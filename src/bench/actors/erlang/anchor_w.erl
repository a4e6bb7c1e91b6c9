%% A worker: counts telemetry, answers a question, crashes when told to.
-module(anchor_w).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2, handle_info/2]).
start_link(I) -> gen_server:start_link(?MODULE, I, []).
init(I) -> {K, L, C} = persistent_term:get(anchor),
  case atomics:get(K, I) of
    0 -> counters:add(C, 1, 1);
    T -> atomics:put(L, I, erlang:monotonic_time(nanosecond) - T), counters:add(C, 2, 1)
  end, {ok, {0, 0.0}}.
handle_cast({tele, {A,B,C,D,E,F,G,H}}, {N, S}) -> {noreply, {N+1, S+A+B+C+D+E+F+G+H}};
handle_cast(die, _) -> erlang:error(die).
handle_call(ask, _, {N,_}=S) -> {reply, N, S}.
handle_info(_, S) -> {noreply, S}.
