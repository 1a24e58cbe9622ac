package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// Monitor speaks QMP, QEMU's machine protocol, over a unix socket
// (docs/interop/qmp-spec.rst in QEMU's sources).
type Monitor struct {
	conn    net.Conn
	decoder *json.Decoder
}

// message is any of QMP's: greeting, return, error or event.
type message struct {
	QMP    json.RawMessage `json:"QMP"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
}

// DialMonitor connects to the socket of a machine that was just started.
func DialMonitor(ctx context.Context, socket string) (*Monitor, error) {
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "unix", socket)
		if err == nil {
			m := &Monitor{conn: conn, decoder: json.NewDecoder(conn)}
			if err := m.Execute(ctx, "qmp_capabilities", nil); err != nil {
				conn.Close()
				return nil, err
			}
			return m, nil
		}
		// QEMU makes the socket some time after it starts.
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to QEMU's monitor: %w", errors.Join(ctx.Err(), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Execute runs one command and waits for its answer; events on the way are
// passed over. When ctx ends first, its error is returned and the monitor is of
// no more use.
func (m *Monitor) Execute(ctx context.Context, command string, arguments any) error {
	_, err := m.Query(ctx, command, arguments)
	return err
}

// Query is Execute for a command whose answer matters.
func (m *Monitor) Query(ctx context.Context, command string, arguments any) (json.RawMessage, error) {
	stop := context.AfterFunc(ctx, func() { _ = m.conn.SetDeadline(time.Now()) })
	defer stop()
	answer, err := m.execute(command, arguments)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("QEMU monitor, %s: %w", command, err)
	}
	return answer, nil
}

func (m *Monitor) execute(command string, arguments any) (json.RawMessage, error) {
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(m.conn).Encode(request); err != nil {
		return nil, err
	}
	for {
		var answer message
		if err := m.decoder.Decode(&answer); err != nil {
			return nil, err
		}
		switch {
		case answer.Error != nil:
			return nil, errors.New(answer.Error.Desc)
		case answer.Return != nil:
			return answer.Return, nil
		}
	}
}

// Close ends the connection.
func (m *Monitor) Close() error { return m.conn.Close() }
