package logring

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
)

// handler writes slog records to a ring, attributes as key=value.
type handler struct {
	ring   *Ring
	source string
	level  slog.Leveler
	attrs  string // preformatted, each with a leading space
	prefix string // groups, each with a trailing dot
}

// Handler returns a slog handler that logs to the ring as source what is at
// level or above.
func (r *Ring) Handler(source string, level slog.Leveler) slog.Handler {
	return &handler{ring: r, source: source, level: level}
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *handler) Handle(_ context.Context, rec slog.Record) error {
	if rec.NumAttrs() == 0 && h.attrs == "" {
		h.ring.Add(h.source, rec.Level, rec.Message)
		return nil
	}
	var b strings.Builder
	b.WriteString(rec.Message)
	b.WriteString(h.attrs)
	rec.Attrs(func(a slog.Attr) bool {
		appendAttr(&b, h.prefix, a)
		return true
	})
	h.ring.Add(h.source, rec.Level, b.String())
	return nil
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b strings.Builder
	b.WriteString(h.attrs)
	for _, a := range attrs {
		appendAttr(&b, h.prefix, a)
	}
	next := *h
	next.attrs = b.String()
	return &next
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.prefix += name + "."
	return &next
}

func appendAttr(b *strings.Builder, prefix string, a slog.Attr) {
	value := a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return
	}
	if value.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, inner := range value.Group() {
			appendAttr(b, prefix, inner)
		}
		return
	}
	b.WriteByte(' ')
	b.WriteString(prefix)
	b.WriteString(a.Key)
	b.WriteByte('=')
	text := value.String()
	if text == "" || strings.ContainsAny(text, " =\"\t\n") {
		text = strconv.Quote(text)
	}
	b.WriteString(text)
}
