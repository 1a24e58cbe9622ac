package pki

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestCertificatesAreRenewedBeforeTheyEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		made, renewals := time.Now(), 0
		Renew(ctx, func() error {
			renewals++
			if age := time.Since(made); age >= CertificateLife || age < CertificateLife/2 {
				t.Errorf("renewal %d of certificates that are %v old", renewals, age)
			}
			if renewals == 2 {
				return errors.New("the server is away")
			}
			if made = time.Now(); renewals == 4 {
				cancel()
			}
			return nil
		})
		if renewals != 4 {
			t.Errorf("%d renewals", renewals)
		}
	})
}
