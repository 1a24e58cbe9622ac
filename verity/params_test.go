package verity

import (
	"strings"
	"testing"
)

const hash64 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func TestParamsSurviveTheCommandLine(t *testing.T) {
	for _, want := range []Params{
		{Blocks: 1, Tree: 4096},
		{Root: 64 << 20, Blocks: 70000, Tree: 64<<20 + 70000*4096, Salt: []byte{0, 1, 0xff}, Hash: [32]byte{1, 2, 3}},
		{Root: 1 << 50, Blocks: 1 << 38, Tree: 1 << 51, Salt: make([]byte, 256)},
	} {
		line := "console=ttyS0 gpt skerry.slot=" + want.String() + " quiet"
		got, err := FromCommandLine(line)
		if err != nil || got.String() != want.String() || got.Hash != want.Hash || got.Root != want.Root {
			t.Errorf("%s\nbecame %s: %v", line, got, err)
		}
	}
}

func TestParseParamsTakesOneSpellingOnly(t *testing.T) {
	good := "root=4096,blocks=2,tree=12288,salt=ab,hash=" + hash64
	if _, err := ParseParams(good); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]string{
		"empty":            "",
		"a field less":     "root=4096,blocks=2,tree=12288,hash=" + hash64,
		"a field more":     good + ",x=1",
		"other order":      "blocks=2,root=4096,tree=12288,salt=ab,hash=" + hash64,
		"leading zero":     strings.Replace(good, "=2,", "=02,", 1),
		"sign":             strings.Replace(good, "=2,", "=+2,", 1),
		"negative":         strings.Replace(good, "root=4096", "root=-4096", 1),
		"no number":        strings.Replace(good, "=2,", "=,", 1),
		"too large":        strings.Replace(good, "=2,", "=99999999999999999999,", 1),
		"no blocks":        strings.Replace(good, "=2,", "=0,", 1),
		"tree within data": strings.Replace(good, "blocks=2", "blocks=3", 1),
		"tree unaligned":   strings.Replace(good, "12288", "12289", 1),
		"upper case":       strings.Replace(good, "salt=ab", "salt=AB", 1),
		"half a byte":      strings.Replace(good, "salt=ab", "salt=abc", 1),
		"long salt":        strings.Replace(good, "salt=ab", "salt="+strings.Repeat("ab", 257), 1),
		"short hash":       good[:len(good)-2],
		"long hash":        good + "00",
		"space":            good + " ",
		"endless":          strings.Repeat("a", 1<<20),
	} {
		if p, err := ParseParams(s); err == nil {
			t.Errorf("%s: accepted as %s", name, p)
		} else if len(err.Error()) > 400 {
			t.Errorf("%s: error of %d characters", name, len(err.Error()))
		}
	}
}

func TestCommandLineHasOneSlot(t *testing.T) {
	slot := "skerry.slot=root=0,blocks=2,tree=8192,salt=,hash=" + hash64
	for line, want := range map[string]string{
		"quiet gpt":          "has 0 parameters skerry.slot",
		"":                   "has 0 parameters",
		slot + " " + slot:    "has 2 parameters",
		"x" + slot:           "has 0 parameters",
		"skerry.slot= quiet": "want root=",
	} {
		if _, err := FromCommandLine(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v, want one with %q", line, err, want)
		}
	}
	if _, err := FromCommandLine("\n" + slot + "\t\n"); err != nil {
		t.Error(err)
	}
}

func TestTableParamsAreThoseOfTheKernelsPage(t *testing.T) {
	p := Params{Root: 4096, Blocks: 2, Tree: 12288, Salt: []byte{0xab, 0xcd}}
	zero := strings.Repeat("0", 64)
	if got, want := p.TableParams("/dev/dm-0", "8:2", "restart_on_corruption", "check_at_most_once"),
		"1 /dev/dm-0 8:2 4096 4096 2 3 sha256 "+zero+" abcd 2 restart_on_corruption check_at_most_once"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	p.Salt = nil
	if got, want := p.TableParams("8:2", "8:2"), "1 8:2 8:2 4096 4096 2 3 sha256 "+zero+" -"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if p.Sectors() != 16 {
		t.Errorf("%d sectors", p.Sectors())
	}
}

func FuzzParseParams(f *testing.F) {
	f.Add("root=4096,blocks=2,tree=12288,salt=ab,hash=" + hash64)
	f.Add("root=0,blocks=274877906944,tree=2251799813685248,salt=,hash=" + hash64)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseParams(s)
		if err != nil {
			return
		}
		if p.String() != s {
			t.Errorf("%q became %q", s, p)
		}
		if p.Root < 0 || p.Tree < p.Root || p.End() < p.Tree || p.Sectors() <= 0 {
			t.Errorf("%q has numbers that overflow", s)
		}
	})
}
