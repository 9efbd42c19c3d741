%% A server as Erlang writes it: one process for each connection, under a supervisor that does not start it again. It speaks
%% lines over TCP, because Erlang/OTP itself speaks no WebSocket:
%%
%%   echo ANYTHING   comes back as it is
%%   crash           an error in the connection's process
%%   block           a computation of three seconds that does not yield by itself
%%   abort           the end of the whole runtime system, by SIGABRT
%%
%% Usage: erl -noinput -s bench_server start PORT; it prints `listening on http://ADDRESS` when it listens.
-module(bench_server).
-behaviour(supervisor).

-export([start/1]).
-export([init/1]).

%% The argument comes from the command line, as an atom.
start([Port]) ->
    {ok, _} = supervisor:start_link({local, ?MODULE}, ?MODULE, []),
    {ok, Listener} = gen_tcp:listen(list_to_integer(atom_to_list(Port)), [
        binary,
        {ip, {127, 0, 0, 1}},
        {packet, line},
        {active, false},
        {nodelay, true},
        {reuseaddr, true},
        {backlog, 4096}
    ]),
    {ok, Bound} = inet:port(Listener),
    io:format("listening on http://127.0.0.1:~b~n", [Bound]),
    accept(Listener).

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    {ok, Connection} = supervisor:start_child(?MODULE, [Socket]),
    %% From here on the socket is closed when its process ends, however that comes.
    ok = gen_tcp:controlling_process(Socket, Connection),
    bench_connection:begin_reading(Connection),
    accept(Listener).

init([]) ->
    Connection = #{
        id => connection,
        start => {bench_connection, start_link, []},
        restart => temporary
    },
    {ok, {#{strategy => simple_one_for_one}, [Connection]}}.
