package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
)

// adminServer is evaluated by the broker's Erlang once it has booted. It
// serves one line per connection: "ping", "add VHOST" or "delete VHOST", and
// answers "ok" or the Erlang error. Its socket lies in the broker's folder,
// which only the owner may enter.
const adminServer = `spawn(fun() ->
  file:delete("SOCKET"),
  {ok, Listener} = gen_tcp:listen(0, [{ifaddr, {local, "SOCKET"}}, binary, {packet, line}, {active, false}, {backlog, 128}]),
  Do = fun(<<"ping">>) -> ok;
          (<<"add ", V/binary>>) ->
            ok = rabbit_vhost:add(V, <<"testenv">>),
            rabbit_auth_backend_internal:set_permissions(<<"guest">>, V, <<".*">>, <<".*">>, <<".*">>, <<"testenv">>);
          (<<"delete ", V/binary>>) -> rabbit_vhost:delete(V, <<"testenv">>)
       end,
  Serve = fun Next() ->
            {ok, Socket} = gen_tcp:accept(Listener),
            case gen_tcp:recv(Socket, 0, 5000) of
              {ok, Line} -> gen_tcp:send(Socket, io_lib:format("~0p", [catch Do(string:trim(Line))]));
              _ -> gone
            end,
            gen_tcp:close(Socket),
            Next()
          end,
  Serve()
end).`

func adminEval(socket string) string {
	return strings.ReplaceAll(adminServer, "SOCKET", socket)
}

// admin sends one command to the broker's admin socket and waits for its end.
func admin(ctx context.Context, socket, line string) error {
	verb, _, _ := strings.Cut(line, " ")
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("the broker's admin socket does not answer (has the broker been stopped?): %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return fmt.Errorf("admin socket: %w", err)
		}
	}
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		return fmt.Errorf("admin socket, %s: %w", verb, err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return fmt.Errorf("admin socket, %s: %w", verb, err)
	}
	if string(answer) != "ok" {
		return fmt.Errorf("the broker refused %s: %w", verb, errors.New(string(answer)))
	}
	return nil
}

// withVhost returns the broker's URL with its virtual host replaced.
func withVhost(broker, vhost string) string {
	base, _, _ := strings.Cut(strings.TrimPrefix(broker, "amqp://"), "/")
	return "amqp://" + base + "/" + url.PathEscape(vhost)
}
