package datastore

import (
	"context"
	"database/sql/driver"
)

// maxStatements bounds what a connection keeps prepared. kine has some thirty.
const maxStatements = 64

// prepareOnce opens connections that prepare each statement once. kine asks with
// the text of its statements each time, and to prepare one of them takes more
// than twice as long as to run it.
type prepareOnce struct{ driver.Connector }

// connection is what database/sql asks of a connection that does not make it
// slower.
type connection interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// statement is a prepared one.
type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

func (p prepareOnce) Connect(ctx context.Context) (driver.Conn, error) {
	made, err := p.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	c, ok := made.(connection)
	if !ok {
		return made, nil
	}
	return &preparedConnection{connection: c, statements: map[string]*prepared{}}, nil
}

// preparedConnection is used by one goroutine at a time, as database/sql
// promises.
type preparedConnection struct {
	connection
	statements map[string]*prepared // by their text
}

type prepared struct {
	statement
	used bool // its rows are being read
}

// prepared returns a statement that nobody uses; nil if there is none for it.
func (c *preparedConnection) prepared(ctx context.Context, text string) *prepared {
	if p := c.statements[text]; p != nil {
		if p.used {
			return nil
		}
		return p
	}
	if len(c.statements) >= maxStatements {
		return nil
	}
	made, err := c.connection.PrepareContext(ctx, text)
	if err != nil {
		return nil // whoever runs it is told
	}
	s, ok := made.(statement)
	if !ok {
		made.Close()
		return nil
	}
	p := &prepared{statement: s}
	c.statements[text] = p
	return p
}

// PrepareContext gives the connection up with the statement. kine v0.17.5 keeps
// one on which it could not prepare its own, and after some of them all would be
// in use for ever.
func (c *preparedConnection) PrepareContext(ctx context.Context, text string) (driver.Stmt, error) {
	made, err := c.connection.PrepareContext(ctx, text)
	if err != nil {
		return nil, badConnection{err}
	}
	return made, nil
}

// badConnection is an error after which database/sql closes the connection.
type badConnection struct{ error }

func (b badConnection) Unwrap() []error { return []error{driver.ErrBadConn, b.error} }

// forget closes a statement that failed: who knows what state it is in.
func (c *preparedConnection) forget(text string, p *prepared) {
	delete(c.statements, text)
	p.Close()
}

func (c *preparedConnection) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	p := c.prepared(ctx, text)
	if p == nil {
		return c.connection.ExecContext(ctx, text, args)
	}
	result, err := p.ExecContext(ctx, args)
	if err != nil {
		c.forget(text, p)
	}
	return result, err
}

func (c *preparedConnection) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	p := c.prepared(ctx, text)
	if p == nil {
		return c.connection.QueryContext(ctx, text, args)
	}
	rows, err := p.QueryContext(ctx, args)
	if err != nil {
		c.forget(text, p)
		return nil, err
	}
	p.used = true
	return &preparedRows{Rows: rows, of: p}, nil
}

func (c *preparedConnection) Close() error {
	for text, p := range c.statements {
		c.forget(text, p)
	}
	return c.connection.Close()
}

// preparedRows are those of a prepared statement.
type preparedRows struct {
	driver.Rows
	of *prepared
}

func (r *preparedRows) Close() error {
	err := r.Rows.Close()
	r.of.used = false
	return err
}
