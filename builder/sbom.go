package builder

import (
	"bytes"
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/google/uuid"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/skerry-os/skerry/release"
)

// sbom returns the release's bill of materials: every Debian package, Go module
// and container image that is in it (SPDX 2.3, JSON).
func sbom(m *release.Manifest) ([]byte, error) {
	name := fmt.Sprintf("skerry-%s-%s", m.Version, m.Board)
	id := uuid.NewSHA1(namespace, []byte(name+" "+m.Verity))
	doc := &v2_3.Document{
		SPDXVersion:       v2_3.Version,
		DataLicense:       v2_3.DataLicense,
		SPDXIdentifier:    "DOCUMENT",
		DocumentName:      name,
		DocumentNamespace: "https://skerry.dev/spdx/" + name + "-" + id.String(),
		CreationInfo: &v2_3.CreationInfo{
			Created:  m.Time.UTC().Format(time.RFC3339),
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "skerry-builder"}},
		},
	}
	root := &v2_3.Package{
		PackageName: "skerry", PackageSPDXIdentifier: "skerry", PackageVersion: string(m.Version),
		PackageDownloadLocation: "NOASSERTION", PackageLicenseConcluded: "Apache-2.0",
		PackageLicenseDeclared: "Apache-2.0", PackageCopyrightText: "NOASSERTION",
	}
	doc.Packages = append(doc.Packages, root)
	doc.Relationships = append(doc.Relationships, relate("DOCUMENT", "DESCRIBES", "skerry"))
	// What tells names apart that are one when they are identifiers is part of id.
	add := func(id, name, version, purl string, sums []common.Checksum) {
		element := common.ElementID(spdxID(id))
		doc.Packages = append(doc.Packages, &v2_3.Package{
			PackageName: name, PackageSPDXIdentifier: element, PackageVersion: version,
			PackageDownloadLocation: "NOASSERTION", PackageLicenseConcluded: "NOASSERTION",
			PackageLicenseDeclared: "NOASSERTION", PackageCopyrightText: "NOASSERTION",
			PackageChecksums: sums,
			PackageExternalReferences: []*v2_3.PackageExternalReference{
				{Category: "PACKAGE-MANAGER", RefType: "purl", Locator: purl}},
		})
		doc.Relationships = append(doc.Relationships, relate("skerry", "CONTAINS", element))
	}
	for _, p := range m.Packages {
		add("deb-"+p.Name, p.Name, p.Version, fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s", p.Name, p.Version, p.Architecture),
			[]common.Checksum{{Algorithm: common.SHA256, Value: p.SHA256.String()}})
	}
	for _, module := range m.Modules {
		add("go-"+module.Path, module.Path, module.Version, fmt.Sprintf("pkg:golang/%s@%s", module.Path, module.Version), nil)
	}
	for _, image := range m.Images {
		named, err := reference.ParseNormalizedNamed(image.Reference)
		if err != nil {
			return nil, fmt.Errorf("write the SBOM: %w", err)
		}
		tag := ""
		if tagged, ok := named.(reference.Tagged); ok {
			tag = tagged.Tag()
		}
		// purl-spec, type oci.
		purl := fmt.Sprintf("pkg:oci/%s@sha256%%3A%s?repository_url=%s&tag=%s", path.Base(named.Name()), image.SHA256, url.QueryEscape(named.Name()), tag)
		add("oci-"+image.Reference+"-"+image.SHA256.String()[:12], image.Reference, tag, purl, nil)
	}
	var out bytes.Buffer
	if err := spdxjson.Write(doc, &out, spdxjson.Indent("  ")); err != nil {
		return nil, fmt.Errorf("write the SBOM: %w", err)
	}
	return out.Bytes(), nil
}

func relate(from common.ElementID, kind string, to common.ElementID) *v2_3.Relationship {
	return &v2_3.Relationship{
		RefA:         common.DocElementID{ElementRefID: from},
		RefB:         common.DocElementID{ElementRefID: to},
		Relationship: kind,
	}
}

// spdxID turns a name into an identifier: letters, digits, '.' and '-'.
func spdxID(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-':
			return r
		}
		return '-'
	}, name)
}
