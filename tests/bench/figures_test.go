package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMedianIsTheMiddleWhateverTheOrder(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{7}, 7},
		{[]float64{9, 1}, 5},
		{[]float64{100, 1, 2}, 2},
		{[]float64{4, 1, 3, 100}, 3.5},
	} {
		before := strings.Clone(seconds(c.values))
		if got := median(c.values); got != c.want {
			t.Errorf("%v: got %v, want %v", c.values, got, c.want)
		}
		if after := seconds(c.values); after != before {
			t.Errorf("%v: the values were put in order", c.values)
		}
	}
}

func TestFiguresAreShownWithTheirSpread(t *testing.T) {
	for got, want := range map[string]string{
		seconds(nil):                      "–",
		seconds([]float64{1.234}):         "1.23 s",
		seconds([]float64{5.2, 3.9, 4.1}): "4.10 s (3.90–5.20)",
		ratio(3, 2):                       "1.50×",
		ratio(3, 0):                       "–",
		mib(18.5 * (1 << 20)):             "18.5 MiB",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestTableKeepsCellsInTheirColumns(t *testing.T) {
	var p page
	table{{"what", "time"}, {"a|b", "2 × 3"}, {"line\nbreak"}}.write(&p)
	want := `
| what       | time  |
|------------|-------|
| a\|b       | 2 × 3 |
| line break |       |
`
	if diff := cmp.Diff(want, p.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
