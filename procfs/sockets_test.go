package procfs

import (
	"net/netip"
	"slices"
	"testing"
)

const sockets = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:192C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4107 1 0 100 0 0 10 0
   1: 0F02000A:A2F2 0202000A:192B 01 00000000:00000000 02:000002D1 00000000     0        0 4153 2 0 20 4 30 10 -1
   2: 00000000000000000000000000000000:192B 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4154 1 0 100 0 0 10 0
`

func TestSocketsThatWaitAreRead(t *testing.T) {
	want := []Socket{{netip.MustParseAddrPort("127.0.0.1:6444"), "4107"}, {netip.MustParseAddrPort("[::]:6443"), "4154"}}
	if got, err := Waiting("tcp", sockets); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if got, err := Waiting("udp", sockets); err != nil || len(got) > 0 {
		t.Errorf("of UDP: %v, %v", got, err)
	}
}

func TestASocketThatCannotBeReadHidesNoOther(t *testing.T) {
	for _, damaged := range []string{"0100007:192C", "01007F:192C", "X100007F:192C", "0100007F:1192C", "0100007F"} {
		line := "   9: " + damaged + " 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n"
		if got, err := Waiting("tcp", line+sockets); err == nil || len(got) != 2 {
			t.Errorf("%s: %v, %v", damaged, got, err)
		}
	}
}
