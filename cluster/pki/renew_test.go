package pki

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestCertificatesAreRenewedBeforeTheyEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		made, renewals := time.Now(), 0
		Renew(ctx, made.Add(CertificateLife), nil, func() (time.Time, error) {
			renewals++
			if age := time.Since(made); age >= CertificateLife || age < CertificateLife/2 {
				t.Errorf("renewal %d of certificates that are %v old", renewals, age)
			}
			if renewals == 2 {
				return time.Time{}, errors.New("the server is away")
			}
			if made = time.Now(); renewals == 4 {
				cancel()
			}
			return made.Add(CertificateLife), nil
		})
		if renewals != 4 {
			t.Errorf("%d renewals", renewals)
		}
	})
}

func TestCertificatesAreRenewedWhenSomebodyAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		asked, began, renewals := make(chan struct{}, 1), time.Now(), 0
		asked <- struct{}{}
		Renew(ctx, began.Add(CertificateLife), asked, func() (time.Time, error) {
			if renewals++; renewals == 1 && time.Since(began) != 0 {
				t.Errorf("renewed after %v", time.Since(began))
			}
			if renewals == 2 {
				if age := time.Since(began); age != CertificateLife*2/3 {
					t.Errorf("renewed again after %v", age)
				}
				cancel()
			}
			return time.Now().Add(CertificateLife), nil
		})
	})
}

// As an agent has them that went on with those of before, and one whose server
// does not know yet how late it is.
func TestCertificatesThatAreOldAreRenewedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		var after []time.Duration
		Renew(ctx, began.Add(CertificateLife/4), nil, func() (time.Time, error) {
			if after = append(after, time.Since(began)); len(after) < 3 {
				return began.Add(CertificateLife / 4), nil
			}
			cancel()
			return time.Now().Add(CertificateLife), nil
		})
		if want := []time.Duration{0, renewRetry, 2 * renewRetry}; !slices.Equal(after, want) {
			t.Errorf("renewed after %v, want %v", after, want)
		}
	})
}
