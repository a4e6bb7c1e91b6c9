%% The workers' supervisor.
-module(anchor_sup).
-behaviour(supervisor).
-export([start_link/0, init/1]).
start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).
init([]) -> {ok, {#{strategy => simple_one_for_one, intensity => 1000000, period => 1},
   [#{id => w, start => {anchor_w, start_link, []}, restart => permanent, shutdown => brutal_kill}]}}.
