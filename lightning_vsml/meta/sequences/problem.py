class Problem:
    pass


class Episode:
    pass
