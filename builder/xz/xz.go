// Package xz decompresses with the host's xz. Its errors are what xz says; who
// reads bounds how much.
package xz

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/skerry-os/skerry/builder/hosttool"
)

// Decompress decompresses in with the host's xz and hands the result to use, which
// must read all it wants before it returns; what is left is read on, so that
// xz gets to check the end of the stream. The host's xz uses all processors
// where the file has several blocks: 2.3 s instead of 3.8 s for a kernel
// package on two cores.
func Decompress(parent context.Context, in io.Reader, use func(r io.Reader) error) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	// The limit is for what a damaged or a hostile header may ask for.
	cmd := hosttool.Command(ctx, nil, "xz", "--decompress", "--stdout", "--threads=0", "--memlimit-decompress=1GiB")
	cmd.Stdin = in
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("xz: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return hosttool.Explain(ctx, cmd, err, "")
	}
	useErr := use(out)
	if useErr == nil {
		_, useErr = io.Copy(io.Discard, io.LimitReader(out, MaxTrailingBytes))
	}
	out.Close() // ends an xz that still has something to say
	if useErr != nil {
		cancel()
	}
	waitErr := cmd.Wait()
	if err := parent.Err(); err != nil {
		return err
	}
	message := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(stderr.String()), "xz: (stdin): "))
	switch {
	case message != "":
		// What xz says is why the reader found too little.
		return fmt.Errorf("xz: %.200s", message)
	case useErr != nil:
		return useErr
	case waitErr != nil:
		return fmt.Errorf("xz: %w", waitErr)
	}
	return nil
}

// MaxTrailingBytes bounds what may follow the part of a stream that is used.
const MaxTrailingBytes = 16 << 20
