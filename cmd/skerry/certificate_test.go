package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/cluster/certificates"
)

func TestAnExpiredCertificateIsShownAndIsAnError(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	all := []certificates.Certificate{{Name: "server-ca", Kind: "authority", Expires: now.Add(48 * time.Hour), Path: "/a.crt"}}
	var table bytes.Buffer
	if err := showCertificates(&table, all, false, now); err != nil || !strings.Contains(table.String(), "2026-03-03T12:00:00Z  2 ") {
		t.Errorf("%v\n%s", err, &table)
	}
	all = append(all, certificates.Certificate{Name: "admin", Kind: "client", Expires: now.Add(-time.Hour), Path: "/b.crt"})
	var text bytes.Buffer
	if err := showCertificates(&text, all, true, now); err == nil || !strings.Contains(err.Error(), "/b.crt") {
		t.Errorf("one has expired: %v", err)
	}
	var read []certificates.Certificate
	if err := json.Unmarshal(text.Bytes(), &read); err != nil || len(read) != 2 || read[1].Name != "admin" {
		t.Errorf("%v: %s", err, &text)
	}
}
