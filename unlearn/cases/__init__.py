"""Cases: requests, jobs, adapters, leases. `desk` decides, `store` alone speaks SQL."""
