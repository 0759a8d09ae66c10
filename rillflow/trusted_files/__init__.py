"""Which files and folders only this user and the superuser can change, and settings read of such.

What others can change decides what runs with the rights of this user, so it is not believed.
"""
