%% One client's connection, in a process of its own. Its state is the socket.
-module(bench_connection).
-behaviour(gen_server).

-export([start_link/1, begin_reading/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(BLOCK_MS, 3000).

start_link(Socket) ->
    gen_server:start_link(?MODULE, Socket, []).

%% To be called once the socket is the process's own.
begin_reading(Connection) ->
    gen_server:cast(Connection, begin_reading).

init(Socket) ->
    {ok, Socket}.

handle_cast(begin_reading, Socket) ->
    ok = inet:setopts(Socket, [{active, once}]),
    {noreply, Socket}.

handle_info({tcp, Socket, Line}, Socket) ->
    ok = inet:setopts(Socket, [{active, once}]),
    obey(Line, Socket),
    {noreply, Socket};
handle_info({tcp_closed, Socket}, Socket) ->
    {stop, normal, Socket};
handle_info({tcp_error, Socket, _}, Socket) ->
    {stop, normal, Socket}.

handle_call(_, _, Socket) ->
    {reply, ok, Socket}.

obey(<<"echo ", _/binary>> = Line, Socket) -> gen_tcp:send(Socket, Line);
obey(<<"crash\n">>, _) -> error(crash);
obey(<<"block\n">>, _) -> compute_until(erlang:monotonic_time(millisecond) + ?BLOCK_MS);
obey(<<"abort\n">>, _) -> erlang:halt(abort).

compute_until(End) ->
    case erlang:monotonic_time(millisecond) < End of
        true -> compute_until(End);
        false -> ok
    end.
