package debian

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/skerry-os/skerry/builder/ctxio"
)

// defaultIdleTimeout is how long a mirror may be silent. Mirrors that have to
// fetch a package from further away first take some ten seconds.
const defaultIdleTimeout = 30 * time.Second

var (
	errNotFound = errors.New("the mirror does not have it")
	errStalled  = errors.New("the mirror sends nothing")
	// errWrongContent is what a mirror does in the middle of an update, a
	// broken proxy, or somebody who lies.
	errWrongContent = errors.New("not what the archive signed")
)

// get opens a file below a mirror's root. The length is -1 if it is unknown.
// Reads fail when the mirror is silent for longer than the idle timeout.
func (f *Fetcher) get(ctx context.Context, mirror, path string) (body io.ReadCloser, length int64, err error) {
	u, err := url.Parse(mirror)
	if err != nil {
		return nil, 0, errors.New("mirror: the address is no URL")
	}
	u.Path += "/" + path
	if u.Scheme == "file" {
		return openLocal(u.Path)
	}
	// Mirrors that live in object stores take a plain + for a space.
	u.RawPath = strings.ReplaceAll(u.EscapedPath(), "+", "%2B")

	ctx, cancel := context.WithCancelCause(ctx)
	idle := f.IdleTimeout
	if idle == 0 {
		idle = defaultIdleTimeout
	}
	timer := time.AfterFunc(idle, func() { cancel(fmt.Errorf("%w for %s", errStalled, idle)) })
	stop := func() { timer.Stop(); cancel(nil) }
	cause := func(err error) error {
		if c := context.Cause(ctx); c != nil {
			err = c
		}
		return fmt.Errorf("get %s: %w", u.Redacted(), err)
	}

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		stop()
		return nil, 0, fmt.Errorf("get %s: %w", u.Redacted(), err)
	}
	// Hashes are of the files as they are. It also keeps out bodies that grow
	// without bound when the transport unpacks them.
	request.Header.Set("Accept-Encoding", "identity")
	response, err := f.client().Do(request)
	if err != nil {
		// The client's own error repeats method and address.
		if e := (*url.Error)(nil); errors.As(err, &e) {
			err = e.Err
		}
		err = cause(err)
		stop()
		return nil, 0, err
	}
	body = &watched{body: response.Body, timer: timer, idle: idle, stop: stop, cause: cause}
	switch response.StatusCode {
	case http.StatusOK:
		return body, response.ContentLength, nil
	case http.StatusNotFound, http.StatusGone:
		err = errNotFound
	default:
		err = fmt.Errorf("the mirror answered %s", response.Status)
	}
	err = cause(err)
	body.Close()
	return nil, 0, err
}

func openLocal(path string) (io.ReadCloser, int64, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("read %s: %w", path, errNotFound)
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("read %s: it is no regular file", path)
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}

// watched puts off the idle timeout with every read that brings something.
type watched struct {
	body  io.ReadCloser
	timer *time.Timer
	idle  time.Duration
	stop  func()
	cause func(error) error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.body.Read(p)
	if n > 0 {
		w.timer.Reset(w.idle)
	}
	if err != nil && err != io.EOF {
		err = w.cause(err)
	}
	return n, err
}

func (w *watched) Close() error {
	w.stop()
	return w.body.Close()
}

// client returns a client that follows redirects only to the same scheme or
// from http up to https.
func (f *Fetcher) client() *http.Client {
	var client http.Client
	if f.Client != nil {
		client = *f.Client
	}
	client.CheckRedirect = func(next *http.Request, before []*http.Request) error {
		from, to := before[0].URL.Scheme, next.URL.Scheme
		if from != to && to != "https" {
			return fmt.Errorf("the mirror redirects from %s to %s, which is not followed", from, to)
		}
		if len(before) >= 10 {
			return errors.New("the mirror redirects in circles")
		}
		return nil
	}
	return &client
}

// download writes a file of the mirror to w. It fails with errWrongContent
// unless the bytes are exactly those wanted; w has got some of them by then.
func (f *Fetcher) download(ctx context.Context, mirror, path string, want content, w io.Writer, count func(n int)) error {
	body, length, err := f.get(ctx, mirror, path)
	if err != nil {
		return err
	}
	defer body.Close()
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("get %s/%s: %w: %s", redacted(mirror), path, errWrongContent, fmt.Sprintf(format, args...))
	}
	if length >= 0 && length != want.size {
		return wrong("%d bytes instead of %d", length, want.size)
	}
	sum := sha256.New()
	limited := io.LimitReader(body, want.size+1)
	n, err := io.CopyBuffer(counter{io.MultiWriter(w, sum), count}, ctxio.Reader(ctx, limited), make([]byte, 128<<10))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return wrong("the connection ended after %d of %d bytes", n, want.size)
	case err != nil:
		return err
	case n > want.size:
		return wrong("more than %d bytes", want.size)
	case n < want.size:
		return wrong("%d bytes instead of %d", n, want.size)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want.sha256 {
		return wrong("SHA-256 %s instead of %s", got, want.sha256)
	}
	return nil
}

func redacted(mirror string) string {
	u, err := url.Parse(mirror)
	if err != nil {
		return "mirror"
	}
	return u.Redacted()
}

// counter reports what passes through.
type counter struct {
	w     io.Writer
	count func(n int)
}

func (c counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.count(n)
	return n, err
}
