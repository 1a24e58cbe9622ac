package debian

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Mirrors are the roots of the two archives that packages come from: the
// directories that hold dists/ and pool/. Schemes: http, https, file.
type Mirrors struct {
	Archive  string
	Security string // "" when there is none: no security suite is read then
}

// MirrorsAt returns the mirrors for an archive at this URL. Security updates
// are looked for beside it: …/debian-security for …/debian, else the same
// with "-security" appended.
func MirrorsAt(archive string) (Mirrors, error) {
	archive, err := mirrorURL(archive)
	if err != nil {
		return Mirrors{}, err
	}
	return Mirrors{Archive: archive, Security: archive + "-security"}, nil
}

// mirrorURL checks a mirror's address and gives it its one form: scheme://…
// without a slash at the end.
func mirrorURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil {
		// url.Error repeats the address, password and all.
		return "", errors.New("mirror: the address is no URL: give one such as http://HOST/debian or file:/PATH")
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" {
			return "", fmt.Errorf("mirror %s: the URL names no host", u.Redacted())
		}
	case "file", "copy":
		if u.Host != "" && u.Host != "localhost" || !path.IsAbs(u.Path) {
			return "", fmt.Errorf("mirror %s: a local mirror is written file:/absolute/path", u.Redacted())
		}
		u.Scheme, u.Host, u.OmitHost = "file", "", true
	default:
		return "", fmt.Errorf("mirror %s: only http, https and file URLs can be used", u.Redacted())
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("mirror %s: the URL of a mirror has no query", u.Redacted())
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	return u.String(), nil
}

// releases are the names a Debian release goes by. apt sources name foreign
// archives in the same form, and only this tells them apart.
var releases = regexp.MustCompile(`^(oldoldstable|oldstable|stable|testing|unstable|sid|bullseye|bookworm|trixie|forky|duke)(-[a-z-]+|/updates)?$`)

// source is one entry of the host's apt sources.
type source struct {
	where      string // file, for messages
	uris       []string
	suites     []string
	components []string
	signedBy   string
}

// HostMirrors reads apt's sources below root, the host's file system, and
// picks the mirrors of Debian's archive and of its security archive. It fails
// when no entry looks like Debian's. Where the security archive is missing it
// is looked for beside the archive, as MirrorsAt does.
func HostMirrors(root fs.FS) (Mirrors, error) {
	sources, err := readSources(root)
	if err != nil {
		return Mirrors{}, err
	}
	archive, err := pick(root, sources, false)
	if err != nil {
		return Mirrors{}, err
	}
	if archive == "" {
		return Mirrors{}, errors.New("read apt sources: no Debian archive with component main among them: pass --mirror URL")
	}
	security, err := pick(root, sources, true)
	if err != nil {
		return Mirrors{}, err
	}
	if security == "" {
		return MirrorsAt(archive)
	}
	return Mirrors{Archive: archive, Security: security}, nil
}

// pick returns the most likely mirror, "" if there is none. Other vendors
// publish under Debian's suite names too, so entries are weighed: the archive
// has suites beside the release, it is signed by Debian's keyring, and its
// path ends in debian. The first of equals wins.
func pick(root fs.FS, sources []source, security bool) (string, error) {
	weight := map[string]int{}
	where := map[string]string{}
	var order []string
	for _, s := range sources {
		if !slices.Contains(s.components, "main") {
			continue
		}
		for _, suite := range s.suites {
			isSecurity := strings.HasSuffix(suite, "-security") || strings.HasSuffix(suite, "/updates")
			if !releases.MatchString(suite) || isSecurity != security {
				continue
			}
			for _, uri := range s.uris {
				if _, seen := weight[uri]; !seen {
					order = append(order, uri)
					where[uri] = s.where
				}
				weight[uri] += sourceWeight(s, suite, uri)
			}
		}
	}
	if len(order) == 0 {
		return "", nil
	}
	best := order[0]
	for _, uri := range order {
		if weight[uri] > weight[best] {
			best = uri
		}
	}
	mirror, err := resolveURI(root, best)
	if err != nil {
		return "", fmt.Errorf("%s: %w: pass --mirror URL", where[best], err)
	}
	return mirror, nil
}

func sourceWeight(s source, suite, uri string) int {
	w := 0
	if strings.HasSuffix(suite, "-updates") || strings.HasSuffix(suite, "-backports") {
		w += 4
	}
	if strings.Contains(s.signedBy, "debian-archive-") {
		w += 2
	}
	if base := path.Base(strings.TrimRight(uri, "/")); base == "debian" || base == "debian-security" {
		w++
	}
	return w
}

// resolveURI returns the mirror behind an address of apt's sources.
// mirror+file names a file with one address a line, better ones with a lower
// priority (apt-transport-mirror(1)).
func resolveURI(root fs.FS, uri string) (string, error) {
	list, ok := strings.CutPrefix(uri, "mirror+file:")
	if !ok {
		return mirrorURL(uri)
	}
	name := strings.TrimPrefix(path.Clean("/"+strings.TrimPrefix(list, "//")), "/")
	text, err := readSourceFile(root, name)
	if err != nil {
		return "", fmt.Errorf("mirror list: %w", err)
	}
	best, bestPriority := "", 0
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		mirror, err := mirrorURL(fields[0])
		if err != nil {
			continue // a transport that apt has and we do not; another line may do
		}
		priority := int(^uint(0) >> 1) // apt tries lines without one last
		for _, f := range fields[1:] {
			if n, err := strconv.Atoi(strings.TrimPrefix(f, "priority:")); err == nil {
				priority = n
			}
		}
		if best == "" || priority < bestPriority {
			best, bestPriority = mirror, priority
		}
	}
	if best == "" {
		return "", fmt.Errorf("mirror list /%s names no http, https or file mirror", name)
	}
	return best, nil
}
