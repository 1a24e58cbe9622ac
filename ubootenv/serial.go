package ubootenv

// Serials order the two copies. They are serial numbers of RFC 1982 with
// SERIAL_BITS 3: 0 to 7, and 0 again after 7; b is newer than a if it is one to
// three steps ahead. Each write is one step ahead of the newest copy and replaces
// the other one, so valid copies are one step apart; two more steps are there for a
// disk that loses a write it said was done. Of equal copies, and of those four
// steps apart, for which the RFC has no answer, the first one counts.
//
// They are this small because U-Boot's script must count without
// arithmetic: boards of the Rockchip family have no setexpr.
const serials = 8

func nextSerial(s int) int { return (s + 1) % serials }

// newer says whether b is newer than a.
func newer(b, a int) bool {
	ahead := (b - a + serials) % serials
	return ahead > 0 && ahead < serials/2
}

// parseSerial takes one digit and nothing else, as the script does.
func parseSerial(s string) (int, bool) {
	if len(s) != 1 || s[0] < '0' || s[0] >= '0'+serials {
		return 0, false
	}
	return int(s[0] - '0'), true
}
